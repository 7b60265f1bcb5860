module tinycoro/benchmarks/micro

go 1.26
