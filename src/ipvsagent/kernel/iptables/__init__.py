"""Drivers for iptables rules, one for each variant: `legacy` and `nft`; `variant` finds out which one the host uses.

`child` is the process that writes legacy rules; only `legacy` uses it.
"""
