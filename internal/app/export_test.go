package app

var NewTransport = newTransport
