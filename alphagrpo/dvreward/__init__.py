"""DVReward: a prompt becomes yes/no questions, a judge answers each, and the answers one reward.

`decompose` writes the questions once, offline; `verify` puts them about an image, one call each;
`aggregate` makes the reward. `questions` is the file that lies between them; `benchmark` and `cli`
are how `alphabench` finds all this. After AlphaGRPO (arXiv 2605.12495); wording and code are our
own.
"""
