"""What the containers of the sandbox do, and the traffic that reaches them."""
