"""From an MLflow project to a sound A/B test in production.

The package is laid out in layers; imports point down this list and never up, and parts on one
line never import each other:

    __main__
    commands                                   parse, call, render
    workflows                                  flows that cross parts: promote, rollback, demo
    training | deployment | serving | consumers | feedback | monitoring
    registry | journal | cluster               models, ledger | decisions, outcomes | Kubernetes
    runtimes | environments                    what executes a model, and with which packages
    spec | protocols | policies | rewards | stats | charts | linting
                                               frozen records, pure functions
    tables                                     CSV, JSON, Parquet, typed by a signature
    plugins                                    name -> implementation, imported on use
    settings | resources | lazy | forking
    errors
"""

__version__ = "0.1.0"
