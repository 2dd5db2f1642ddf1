"""Measurements of the bridge beside its peers in one run: `scripts/bench`, docs/performance.md.

ground     a broker and programs of its own, their CPU and memory
mqtt       the least MQTT that a measurement needs
load       many connections that post, and when what they posted came out
peers      Node-RED, ecowitt2mqtt and a minimal script, installed here
vendor     a UMS and its pages without a simulator's own cost
bridges    the bridge as a program, for a measurement
push · publishing · polling · cold · command · growth     the measurements
bare_*     the loops that the measurements compare with, each a program
table      the table, and docs/performance.md
"""
