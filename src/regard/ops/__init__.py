"""Pure functions, each in a plain form (the equation) and, where it pays, a fast form held to it by a test."""
