"""A thousand PDDeployments on a real control plane: what the operator costs, beside what HPA costs there."""
