module github.com/sleightproxy/sleight

go 1.26.1

require go.uber.org/goleak v1.3.0 // indirect
