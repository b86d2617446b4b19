// Command telegraf runs Telegraf's own agent with the three plugins that the benchmark compares with:
// MQTT in, PostgreSQL and Kafka out. `go install` of the whole program needs sums of plugins that are not used here.
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/influxdata/telegraf/agent"
	"github.com/influxdata/telegraf/config"
	"github.com/influxdata/telegraf/logger"
	_ "github.com/influxdata/telegraf/plugins/inputs/mqtt_consumer"
	_ "github.com/influxdata/telegraf/plugins/outputs/kafka"
	_ "github.com/influxdata/telegraf/plugins/outputs/postgresql"
	_ "github.com/influxdata/telegraf/plugins/parsers/value"
	_ "github.com/influxdata/telegraf/plugins/serializers/influx"
)

func main() {
	if len(os.Args) != 2 {
		fmt.Fprintln(os.Stderr, "usage: telegraf CONFIG.toml")
		os.Exit(2)
	}
	if err := run(os.Args[1]); err != nil {
		fmt.Fprintln(os.Stderr, "telegraf:", err)
		os.Exit(1)
	}
}

func run(file string) error {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, os.Interrupt)
	defer stop()
	settings := config.NewConfig()
	if err := settings.LoadAll(file); err != nil {
		return err
	}
	if err := logger.SetupLogging(&logger.Config{Quiet: true}); err != nil {
		return err
	}
	fmt.Fprintln(os.Stderr, "telegraf: started")
	return agent.NewAgent(settings).Run(ctx)
}
