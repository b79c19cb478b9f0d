"""What will be tried: axes crossed into resolved trials, each with an id that depends on nothing but what can change its result."""
