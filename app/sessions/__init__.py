"""Who is signed in here, and with which broker session."""
