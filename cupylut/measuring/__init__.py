"""What all measurements need: times taken in turn, rivals, files of results, the environment."""
