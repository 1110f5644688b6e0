"""What the frontend may ask about orders."""
