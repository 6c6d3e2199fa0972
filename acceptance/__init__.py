"""Programs that judge a running service as its users do: attacks, chaos, drain, fuzz, proxies, clients in other
languages, the Rapida platform's own client, a real Prometheus, real chat servers; and the packages of a release and
deploy/, by the tools that read them. `make acceptance` runs them all.
"""
