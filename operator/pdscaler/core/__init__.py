"""The pure core: sizing, constraints, behaviour and the plan. May import only numpy, scipy, units and errors."""
