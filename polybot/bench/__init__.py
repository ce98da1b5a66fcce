"""What the floor can do on this machine, measured: nothing here is asserted, everything is printed."""
