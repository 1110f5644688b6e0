"""What developers and newcomers work with: real servers from wheels, the demo, and the commands behind `./run`."""
