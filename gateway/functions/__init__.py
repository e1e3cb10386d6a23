"""One simulation as a function, over HTTP or as an Fn function; a client of the gateway like any other."""
