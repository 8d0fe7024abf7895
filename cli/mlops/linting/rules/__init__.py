"""The rules, one function each, in one module per platform.

A function looks at one document whose fields have been checked already and yields what is wrong.
What it is called, how bad it is and why it matters is in the module's table `RULES`.
"""
