"""The vendor SSO partner backend for the Gopocket broker."""
