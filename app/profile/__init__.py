"""Who the investor is, personal data masked."""
