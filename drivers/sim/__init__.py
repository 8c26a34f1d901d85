"""The simulated bench: rooms, a robot body and the boards and sensors that speak the real wires."""
