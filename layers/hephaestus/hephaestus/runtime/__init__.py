"""What runs workflows: the ports to the outside, the executor, the runner and the sweeper."""
