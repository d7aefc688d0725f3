"""Export: networks in forms that run without autolabel, each checked against the original network."""
