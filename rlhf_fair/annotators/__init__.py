"""Who gives the feedback: population, panel, assignment, weights, aggregation, simulation."""
