import com.fasterxml.jackson.databind.ObjectMapper;
import java.time.OffsetDateTime;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.Objects;
import java.util.stream.Collectors;
import org.openapitools.client.ApiClient;
import org.openapitools.client.ApiException;
import org.openapitools.client.api.EventsApi;
import org.openapitools.client.api.InboxApi;
import org.openapitools.client.api.NotificationsApi;
import org.openapitools.client.model.*;

/**
 * The whole story with the classes that openapi-generator makes of the document.
 * Arguments: the service's address, an API key, a user, and that user's token.
 */
public class Story {
    public static void main(String[] arguments) throws Exception {
        String address = arguments[0], user = arguments[2];
        ApiClient service = client(address, "x-api-key", arguments[1]);
        ApiClient end = client(address, "authorization", "Bearer " + arguments[3]);
        NotificationsApi backend = new NotificationsApi(service), alices = new NotificationsApi(end);
        InboxApi alice = new InboxApi(end);
        EventsApi log = new EventsApi(service);

        // Create, and repeat it with the same key.
        CreateNotification note = plain(user, "Your invoice is ready")
            .category("billing").priority(Priority.HIGH).data(Map.of("invoice", 1042)).tags(List.of("invoice"));
        var created = backend.createNotificationWithHttpInfo(note, "java-1");
        String id = created.getData().getId();
        equal(created.getStatusCode(), 201);
        equal(created.getHeaders().get("tidings-cursor"), List.of(created.getData().getCursor()));
        var again = backend.createNotificationWithHttpInfo(note, "java-1");
        equal(again.getData(), created.getData());
        equal(again.getHeaders().get("idempotent-replayed"), List.of("true"));

        // Many at once, one of them wrong.
        var many = List.of(plain(user, "two"), plain(user, ""), plain(user, "three"));
        var batch = backend.createNotificationsWithHttpInfo(new CreateNotifications().notifications(many), null);
        List<BatchResult> results = batch.getData().getResults();
        equal(results.stream().map(BatchResult::getStatus).collect(Collectors.toList()), List.of(201L, 422L, 201L));
        equal(results.get(1).getProblem().getErrors().get(0).getPointer(), "/content/title");
        String cursor = batch.getHeaders().get("tidings-cursor").get(0);

        // The inbox as its user sees it, with all of that.
        InboxPage inbox = alice.getInbox(user, null, null, null, null, null, null, cursor);
        equal(inbox.getUnread(), 3L);
        InboxItem first = inbox.getItems().get(2);
        equal(first.getId(), id);
        equal(List.of(first.getData(), first.getTags(), first.getPriority()),
            List.of(Map.of("invoice", 1042), List.of("invoice"), "high"));
        equal(first.getCreatedAt().isBefore(OffsetDateTime.now()), true);

        // Page through it.
        List<String> titles = new ArrayList<>();
        String before = null;
        do {
            InboxPage page = alice.getInbox(user, null, null, null, 1L, before, null, null);
            page.getItems().forEach(item -> titles.add(item.getTitle()));
            before = page.getNext();
        } while (before != null);
        equal(titles, List.of("three", "two", "Your invoice is ready"));

        // Mark one, then all.
        Receipt marked = alices.markNotificationRead(id, null);
        InboxCounts counts = alice.getInboxCounts(user, marked.getCursor());
        equal(List.of(counts.getUnread(), counts.getUnseen()), List.of(2L, 2L));
        equal(alice.markInboxRead(user, null, null).getMarked(), 2L);

        // How it stands, and what happened to it.
        Notification one = backend.getNotification(id);
        equal(List.of(one.getStatus(), one.getDeliveries().get(0).getChannel()), List.of("active", "in_app"));
        equal(log.listNotificationEvents(id).getEvents().get(0).getType(), "notification.created");
        equal(log.listEvents(null, null, null, 2L, null, user, null).getEvents().size(), 2);

        // Problems.
        try {
            backend.createNotification(plain(user, ""), null);
            throw new AssertionError("an empty title was accepted");
        } catch (ApiException refused) {
            Problem problem = problem(service, refused);
            equal(List.of(refused.getCode(), problem.getStatus(), problem.getType()),
                List.of(422, 422L, "invalid-request"));
            equal(problem.getErrors().get(0).getPointer(), "/content/title");
        }
        try {
            alices.getNotification(id);
            throw new AssertionError("a user saw what is the service's");
        } catch (ApiException refused) {
            equal(problem(end, refused).getType(), "forbidden");
        }

        System.out.println("told");
    }

    static ApiClient client(String address, String header, String value) {
        ApiClient client = new ApiClient();
        client.updateBaseUri(address);
        client.setRequestInterceptor(request -> request.header(header, value));
        return client;
    }

    static CreateNotification plain(String user, String title) {
        return new CreateNotification().userId(user).content(new Content().title(title).body(""));
    }

    static Problem problem(ApiClient client, ApiException refused) throws Exception {
        ObjectMapper mapper = client.getObjectMapper();
        return mapper.readValue(refused.getResponseBody(), Problem.class);
    }

    static void equal(Object is, Object expected) {
        if (!Objects.equals(is, expected)) throw new AssertionError(is + " is not " + expected);
    }
}
