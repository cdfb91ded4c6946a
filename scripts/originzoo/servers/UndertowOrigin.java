import io.undertow.*;
import io.undertow.server.handlers.BlockingHandler;
import io.undertow.util.*;
import java.io.*;
import java.security.KeyStore;
import java.util.*;
import javax.net.ssl.*;

/** Undertow: PORT KEYSTORE IDLE-SECONDS. */
public final class UndertowOrigin {
    public static void main(String[] args) throws Exception {
        char[] password = "sleight".toCharArray();
        KeyManagerFactory keys = KeyManagerFactory.getInstance(KeyManagerFactory.getDefaultAlgorithm());
        keys.init(KeyStore.getInstance(new File(args[1]), password), password);
        SSLContext tls = SSLContext.getInstance("TLS");
        tls.init(keys.getKeyManagers(), null, null);
        Undertow.builder()
            .addHttpsListener(Integer.parseInt(args[0]), "127.0.0.1", tls)
            .setServerOption(UndertowOptions.ENABLE_HTTP2, true)
            .setServerOption(UndertowOptions.NO_REQUEST_TIMEOUT, 1000 * Integer.parseInt(args[2]))
            .setWorkerThreads(200)
            .setHandler(Handlers.httpContinueRead(new BlockingHandler(x -> {
                byte[] body = Forward.read(x.getRequestPath(), x.getInputStream());
                List<String[]> sent = new ArrayList<>();
                for (HeaderValues values : x.getRequestHeaders())
                    for (String v : values) sent.add(new String[] {values.getHeaderName().toString(), v});
                String target = x.getRequestURI() + (x.getQueryString().isEmpty() ? "" : "?" + x.getQueryString());
                try (Forward f = new Forward(x.getRequestMethod().toString(), target, sent, body)) {
                    x.setStatusCode(f.status);
                    for (String[] h : f.fields) x.getResponseHeaders().add(new HttpString(h[0]), h[1]);
                    f.body.transferTo(x.getOutputStream());
                }
            })))
            .build().start();
    }
}
