"""A team's own repository: the files that ``hephaestus init`` writes and ``hephaestus upgrade`` keeps up."""
