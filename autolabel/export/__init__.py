"""Handing over: networks in forms that run without autolabel, each checked against the network it was made from."""
