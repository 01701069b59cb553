"""The highest rate of requests that keeps an objective: `vitrine-client load capacity`."""
