// Sends events with CloudEvents' SDK for Go, in both modes.
package main

import (
	"bufio"
	"context"
	"encoding/json"
	"log"
	"os"
	"strings"
	"time"

	"github.com/IBM/sarama"
	"github.com/cloudevents/sdk-go/protocol/kafka_sarama/v2"
	cloudevents "github.com/cloudevents/sdk-go/v2"
	"github.com/cloudevents/sdk-go/v2/binding"
)

type line struct {
	Mode       string            `json:"mode"`
	Bytes      bool              `json:"bytes"`
	Attributes map[string]string `json:"attributes"`
	Data       json.RawMessage   `json:"data"`
}

func event(line line) cloudevents.Event {
	event := cloudevents.NewEvent()
	for name, value := range line.Attributes {
		switch name {
		case "id":
			event.SetID(value)
		case "source":
			event.SetSource(value)
		case "type":
			event.SetType(value)
		case "subject":
			event.SetSubject(value)
		case "time":
			at, err := time.Parse(time.RFC3339Nano, value)
			check(err)
			event.SetTime(at)
		case "datacontenttype":
		default:
			event.SetExtension(name, value)
		}
	}
	if line.Bytes {
		check(event.SetData(line.Attributes["datacontenttype"], []byte(line.Data)))
		// So that the SDK writes data_base64, as it does for bytes that it read.
		event.DataBase64 = true
	} else {
		var data map[string]any
		check(json.Unmarshal(line.Data, &data))
		check(event.SetData(cloudevents.ApplicationJSON, data))
	}
	return event
}

func main() {
	config := sarama.NewConfig()
	config.Version = sarama.V2_8_0_0
	config.Producer.RequiredAcks = sarama.WaitForAll
	sender, err := kafka_sarama.NewSender(strings.Split(os.Args[1], ","), config, os.Args[2])
	check(err)
	client, err := cloudevents.NewClient(sender)
	check(err)
	modes := map[string]func(context.Context) context.Context{
		"structured": binding.WithForceStructured,
		"binary":     binding.WithForceBinary,
	}
	lines := bufio.NewScanner(os.Stdin)
	for lines.Scan() {
		var line line
		check(json.Unmarshal(lines.Bytes(), &line))
		if result := client.Send(modes[line.Mode](context.Background()), event(line)); cloudevents.IsUndelivered(result) {
			log.Fatal(result)
		}
	}
	check(lines.Err())
	check(sender.Close(context.Background()))
}

func check(err error) {
	if err != nil {
		log.Fatal(err)
	}
}
