"""Ways of turning prompts into completions."""
