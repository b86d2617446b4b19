import com.hivemq.configuration.service.InternalConfigurations;
import com.hivemq.embedded.EmbeddedHiveMQ;
import java.nio.file.Path;

/** HiveMQ CE as a program. Arguments: folder (with conf/config.xml, data, extensions), messages in flight per client. */
public final class Broker {
    public static void main(final String[] arguments) throws Exception {
        final Path folder = Path.of(arguments[0]);
        // 50 by default, whatever a client's receive maximum is; there is no setting for it in the file.
        InternalConfigurations.MAX_INFLIGHT_WINDOW_SIZE_MESSAGES = Integer.parseInt(arguments[1]);
        final EmbeddedHiveMQ broker = EmbeddedHiveMQ.builder()
                .withConfigurationFolder(folder.resolve("conf"))
                .withDataFolder(folder.resolve("data"))
                .withExtensionsFolder(folder.resolve("extensions"))
                .build();
        Runtime.getRuntime().addShutdownHook(new Thread(() -> broker.stop().join()));
        broker.start().join();
        System.out.println("the broker is ready");
        Thread.currentThread().join();
    }
}
