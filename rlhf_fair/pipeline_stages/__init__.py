"""The stages of the pipeline: each is one function that fills a folder from the folders before it."""
