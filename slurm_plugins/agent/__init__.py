"""The parts of the node agent; ``one_file`` joins them into the one file that a node is given."""
