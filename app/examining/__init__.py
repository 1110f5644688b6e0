"""`partner doctor`: everything that has to be so before anybody trades, looked at and told in one line each."""
