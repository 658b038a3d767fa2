"""What every room needs and nothing owns: money, amounts, dates, languages, settings, errors.

It reads files and the environment, but neither the database nor the network, and holds no table. It
imports nothing of ours.
"""
