// The programs of benchmarks/micro with goroutines: same counts, same output line.
//
// usage: go_micro [-workers N] [-runs N] NAME
package main

import (
	"flag"
	"fmt"
	"os"
	"runtime"
	"slices"
	"sync"
	"syscall"
	"time"
)

const (
	yields     = 1_000_000
	spawns     = 500_000
	handoffs   = 500_000
	sleeps     = 100_000
	timers     = 1_000_000
	treeDepth  = 16
	groupSize  = 100
	maxSleepMS = 10
	messages   = 500_000
	buffered   = 2_000_000
	bufferSize = 128
	sections   = 500_000
	skynetSize = 1_000_000
)

// yield lets `goroutines` of them take turns through the scheduler.
func yield(goroutines int) func() {
	return func() {
		var wg sync.WaitGroup
		for range goroutines {
			wg.Go(func() {
				for range yields / goroutines {
					runtime.Gosched()
				}
			})
		}
		wg.Wait()
	}
}

func spawnJoin() {
	for range spawns {
		done := make(chan struct{})
		go func() { close(done) }()
		<-done
	}
}

func spawnGroup() {
	for range spawns / groupSize {
		var wg sync.WaitGroup
		for range groupSize {
			wg.Add(1)
			go wg.Done()
		}
		wg.Wait()
	}
}

// handoff passes control to and fro between the two goroutines of each pair.
func handoff(pairs int) func() {
	return func() {
		var wg sync.WaitGroup
		for range pairs {
			ping, pong := make(chan struct{}), make(chan struct{})
			wg.Go(func() {
				for range handoffs / 2 / pairs {
					ping <- struct{}{}
					<-pong
				}
			})
			wg.Go(func() {
				for range handoffs / 2 / pairs {
					<-ping
					pong <- struct{}{}
				}
			})
		}
		wg.Wait()
	}
}

// wakeAcross does the same between two goroutines that are bound to a thread each.
func wakeAcross() {
	ping, pong := make(chan struct{}), make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		runtime.LockOSThread()
		for range handoffs / 20 {
			ping <- struct{}{}
			<-pong
		}
	})
	wg.Go(func() {
		runtime.LockOSThread()
		for range handoffs / 20 {
			<-ping
			pong <- struct{}{}
		}
	})
	wg.Wait()
}

func timersSleep() {
	var wg sync.WaitGroup
	for i := range sleeps {
		wg.Go(func() { time.Sleep(time.Duration(i%maxSleepMS) * time.Millisecond) })
	}
	wg.Wait()
}

func timersCancel() {
	for i := range timers {
		time.AfterFunc(time.Hour+time.Duration(i%1000)*time.Millisecond, func() {}).Stop()
	}
}

func tree(depth int) {
	if depth == 0 {
		return
	}
	var wg sync.WaitGroup
	wg.Go(func() { tree(depth - 1) })
	wg.Go(func() { tree(depth - 1) })
	wg.Wait()
}

// chanPingpong sends a value to and fro over two channels without a buffer.
func chanPingpong() {
	ping, pong := make(chan int64), make(chan int64)
	var wg sync.WaitGroup
	wg.Go(func() {
		var value int64
		for range messages / 2 {
			ping <- value
			value = <-pong + 1
		}
	})
	wg.Go(func() {
		for range messages / 2 {
			pong <- <-ping + 1
		}
	})
	wg.Wait()
}

// chanBuffered moves values from one goroutine to another through a buffer.
func chanBuffered() {
	ch := make(chan int64, bufferSize)
	var wg sync.WaitGroup
	wg.Go(func() {
		for i := range int64(buffered) {
			ch <- i
		}
		close(ch)
	})
	wg.Go(func() {
		var next int64
		for value := range ch {
			if value != next {
				panic("order")
			}
			next++
		}
	})
	wg.Wait()
}

// mutexContended lets four goroutines take turns in sections in which the holder gives way.
func mutexContended() {
	var mu sync.Mutex
	var wg sync.WaitGroup
	shared := 0
	for range 4 {
		wg.Go(func() {
			for range sections / 4 {
				mu.Lock()
				shared++
				runtime.Gosched()
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	if shared != sections {
		panic("lost")
	}
}

// skynetTree sums the numbers of `size` leaves, ten children to a goroutine.
func skynetTree(out chan<- int64, number, size int64) {
	if size == 1 {
		out <- number
		return
	}
	results := make(chan int64)
	for i := range int64(10) {
		go skynetTree(results, number+i*(size/10), size/10)
	}
	var sum int64
	for range 10 {
		sum += <-results
	}
	out <- sum
}

func skynet() {
	result := make(chan int64)
	go skynetTree(result, 0, skynetSize)
	if <-result != skynetSize*(skynetSize-1)/2 {
		panic("sum")
	}
}

type program struct {
	operations int
	body       func()
}

func programs() map[string]program {
	return map[string]program{
		"yield":           {yields, yield(2)},
		"yield64":         {yields, yield(64)},
		"spawn_join":      {spawns, spawnJoin},
		"spawn_wg100":     {spawns, spawnGroup},
		"spawn_tree":      {1<<(treeDepth+1) - 1, func() { tree(treeDepth) }},
		"handoff":         {handoffs, handoff(1)},
		"handoff16":       {handoffs, handoff(16)},
		"wake_across":     {handoffs / 10, wakeAcross},
		"chan_pingpong":   {messages, chanPingpong},
		"chan_buffered":   {buffered, chanBuffered},
		"mutex_contended": {sections, mutexContended},
		"skynet":          {skynetSize, skynet},
		"timers_sleep":    {sleeps, timersSleep},
		"timers_cancel":   {timers, timersCancel},
	}
}

// cpuTime is the processor time of the process, the collector's threads included.
func cpuTime() time.Duration {
	var usage syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &usage); err != nil {
		panic(err)
	}
	return time.Duration(usage.Utime.Nano() + usage.Stime.Nano())
}

func main() {
	workers := flag.Int("workers", 1, "GOMAXPROCS")
	runs := flag.Int("runs", 7, "timed runs")
	flag.Parse()
	p, ok := programs()[flag.Arg(0)]
	if !ok || *runs < 1 {
		fmt.Fprintln(os.Stderr, "usage: go_micro [-workers N] [-runs N] NAME")
		os.Exit(2)
	}
	runtime.GOMAXPROCS(*workers)
	p.body() // warm-up
	wall, cpu := make([]float64, *runs), make([]float64, *runs)
	for i := range wall {
		start, used := time.Now(), cpuTime()
		p.body()
		wall[i] = float64(time.Since(start)) / float64(p.operations)
		cpu[i] = float64(cpuTime()-used) / float64(p.operations)
	}
	slices.Sort(wall)
	slices.Sort(cpu)
	fmt.Printf("name=%s workers=%d median=%.2f min=%.2f max=%.2f cpu=%.2f runs=%d unit=ns\n",
		flag.Arg(0), *workers, wall[*runs/2], wall[0], wall[*runs-1], cpu[*runs/2], *runs)
}
