"""Phones, browsers and desktops over WebDriver. Works without the daemon: imports nothing but `drivers`."""
