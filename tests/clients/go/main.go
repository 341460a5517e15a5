// The whole story with the package that openapi-generator makes of the document.
// Arguments: the service's address, an API key, a user, and that user's token.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"reflect"
	"time"

	tidings "tidings.example/story/client"
)

func check(err error) {
	if err != nil {
		panic(err)
	}
}

func equal(is, expected interface{}) {
	if !reflect.DeepEqual(is, expected) {
		panic(fmt.Sprintf("%v is not %v", is, expected))
	}
}

func problem(err error) tidings.Problem {
	var failed *tidings.GenericOpenAPIError
	if !errors.As(err, &failed) {
		panic(err)
	}
	return failed.Model().(tidings.Problem)
}

func main() {
	address, key, user, token := os.Args[1], os.Args[2], os.Args[3], os.Args[4]
	configuration := tidings.NewConfiguration()
	configuration.Servers = tidings.ServerConfigurations{{URL: address}}
	client := tidings.NewAPIClient(configuration)
	keys := map[string]tidings.APIKey{"ApiKey": {Key: key}}
	backend := context.WithValue(context.Background(), tidings.ContextAPIKeys, keys)
	alice := context.WithValue(context.Background(), tidings.ContextAccessToken, token)

	// Create, and repeat it with the same key.
	note := tidings.NewCreateNotification(user)
	note.SetContent(*tidings.NewContent("Your invoice is ready", "20 EUR"))
	note.SetCategory("billing")
	note.SetPriority(tidings.PRIORITY_HIGH)
	note.SetData(map[string]interface{}{"invoice": 1042})
	note.SetTags([]string{"invoice"})
	create := client.NotificationsAPI.CreateNotification(backend).CreateNotification(*note).IdempotencyKey("go-1")
	created, response, err := create.Execute()
	check(err)
	equal(response.StatusCode, 201)
	equal(response.Header.Get("Tidings-Cursor"), created.Cursor)
	again, response, err := create.Execute()
	check(err)
	equal(again, created)
	equal(response.Header.Get("Idempotent-Replayed"), "true")

	// Many at once, one of them wrong.
	plain := func(title string) tidings.CreateNotification {
		note := tidings.NewCreateNotification(user)
		note.SetContent(*tidings.NewContent(title, ""))
		return *note
	}
	many := tidings.NewCreateNotifications([]tidings.CreateNotification{plain("two"), plain(""), plain("three")})
	batch, response, err := client.NotificationsAPI.CreateNotifications(backend).CreateNotifications(*many).Execute()
	check(err)
	var statuses []int64
	for _, result := range batch.Results {
		statuses = append(statuses, result.Status)
	}
	equal(statuses, []int64{201, 422, 201})
	equal(batch.Results[1].Problem.Errors[0].Pointer, "/content/title")
	cursor := response.Header.Get("Tidings-Cursor")

	// The inbox as its user sees it, with all of that.
	inbox, _, err := client.InboxAPI.GetInbox(alice, user).TidingsMinCursor(cursor).Execute()
	check(err)
	equal(inbox.Unread, int64(3))
	first := inbox.Items[2]
	equal(first.Id, created.Id)
	equal(first.Data, map[string]interface{}{"invoice": 1042.0})
	equal([]string{first.Priority, first.Tags[0]}, []string{"high", "invoice"})
	equal(first.CreatedAt.Before(time.Now()), true)

	// Page through it.
	var titles []string
	page := client.InboxAPI.GetInbox(alice, user).Limit(1)
	for {
		items, _, err := page.Execute()
		check(err)
		for _, item := range items.Items {
			titles = append(titles, item.Title)
		}
		next := items.Next.Get()
		if next == nil {
			break
		}
		page = page.Before(*next)
	}
	equal(titles, []string{"three", "two", "Your invoice is ready"})

	// Mark one, then all.
	marked, _, err := client.NotificationsAPI.MarkNotificationRead(alice, created.Id).Execute()
	check(err)
	counts, _, err := client.InboxAPI.GetInboxCounts(alice, user).TidingsMinCursor(marked.Cursor).Execute()
	check(err)
	equal([]int64{counts.Unread, counts.Unseen}, []int64{2, 2})
	rest, _, err := client.InboxAPI.MarkInboxRead(alice, user).Execute()
	check(err)
	equal(rest.Marked, int64(2))

	// How it stands, and what happened to it.
	one, _, err := client.NotificationsAPI.GetNotification(backend, created.Id).Execute()
	check(err)
	equal([]string{one.Status, one.Deliveries[0].Channel}, []string{"active", "in_app"})
	timeline, _, err := client.EventsAPI.ListNotificationEvents(backend, created.Id).Execute()
	check(err)
	equal(timeline.Events[0].Type, "notification.created")
	log, _, err := client.EventsAPI.ListEvents(backend).UserId(user).Limit(2).Execute()
	check(err)
	equal(len(log.Events), 2)

	// Problems.
	_, response, err = client.NotificationsAPI.CreateNotification(backend).CreateNotification(plain("")).Execute()
	refused := problem(err)
	equal([]interface{}{response.StatusCode, refused.Status, refused.Type}, []interface{}{422, int64(422), "invalid-request"})
	equal(refused.Errors[0].Pointer, "/content/title")
	_, _, err = client.NotificationsAPI.GetNotification(alice, created.Id).Execute()
	equal(problem(err).Type, "forbidden")

	fmt.Println("told")
}
