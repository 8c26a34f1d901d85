"""Driving a robot round a labelled course: odometry, localization, docking and the verdict."""
