"""Reports, galleries and leaderboards, made from run folders alone."""
