"""What the template brings and updates: it knows nothing of the modules around it.

Whatever it needs of them, settings, routes, tables, is handed in as an argument.
"""
