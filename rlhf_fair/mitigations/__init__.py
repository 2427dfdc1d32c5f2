"""Ways to make a policy less biased, side by side on one world: each trained, asked and measured in the same manner.

`comparison.compare` is the way in. A method is a function that fills a folder and one that opens a policy from it;
`registry` lists them, `kit` is what all of them start from, `examination` asks every policy what no training saw, and
`measures` and `summary` make estimates of the answers.
"""
