"""Many runs with one command: what there is to run, who runs it, and what a person sees of it."""
