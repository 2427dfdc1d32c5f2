"""The same fairness shaping inside trainers that other people wrote: TRL, OpenRLHF and verl."""
