"""A user's own training as a measurement: `recorder` listens to the Trainer, `tally` counts, `readback` reads the
recipe off the live objects, `record` puts the rig's record together."""
