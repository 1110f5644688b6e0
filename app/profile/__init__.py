"""Who the investor is, personal data masked unless the operator shows it whole."""
