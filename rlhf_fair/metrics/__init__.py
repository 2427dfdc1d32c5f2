"""What a disparity is: each metric as a pure function with its range, null value and source."""
