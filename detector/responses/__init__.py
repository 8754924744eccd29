"""What follows drift events: tiers become responses, incidents become retrain requests, alerts and digests.

Like the rest of the core it reads no clock: `ModelResponses` and `AlertDesk` are fed what the response agent read, in
the order of one topic, and the times in it are all the time that there is.

========================  ==========================================================================================
`inputs`                  what comes in
`clock`                   what time it is for a model
`calendar`                cron, windows, notices of maintenance
`cases`                   the open incidents of a model, and what they have been answered with
`protocol`                tiers -> investigation and enhanced monitoring
`versions`                how far the versions of a model have come
`requests`                what a retrain request says
`tracking`                requests that were sent: answered, repeated, ended
`retraining`              when a request is due, and when it has to wait
`model`                   all of it, for one model: the funnel that every input goes through
`desk`, `grouping`        alerts and digests, over all models
========================  ==========================================================================================
"""
