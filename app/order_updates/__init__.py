"""Order updates: events that arrive by themselves, the hints and looks behind them, and the streams they go in."""
