namespace thimble {}
