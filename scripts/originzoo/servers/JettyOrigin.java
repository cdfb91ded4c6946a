import java.io.OutputStream;
import java.util.*;
import org.eclipse.jetty.alpn.server.ALPNServerConnectionFactory;
import org.eclipse.jetty.http.HttpField;
import org.eclipse.jetty.http2.server.HTTP2ServerConnectionFactory;
import org.eclipse.jetty.io.Content;
import org.eclipse.jetty.server.*;
import org.eclipse.jetty.util.Callback;
import org.eclipse.jetty.util.ssl.SslContextFactory;

/** Jetty: PORT KEYSTORE IDLE-SECONDS. */
public final class JettyOrigin {
    public static void main(String[] args) throws Exception {
        Server server = new Server();
        SslContextFactory.Server tls = new SslContextFactory.Server();
        tls.setKeyStorePath(args[1]);
        tls.setKeyStorePassword("sleight");
        HttpConfiguration configuration = new HttpConfiguration();
        configuration.addCustomizer(new SecureRequestCustomizer());
        HttpConnectionFactory http1 = new HttpConnectionFactory(configuration);
        ALPNServerConnectionFactory alpn = new ALPNServerConnectionFactory();
        alpn.setDefaultProtocol(http1.getProtocol());
        ServerConnector connector = new ServerConnector(server, new SslConnectionFactory(tls, alpn.getProtocol()), alpn,
            new HTTP2ServerConnectionFactory(configuration), http1);
        connector.setHost("127.0.0.1");
        connector.setPort(Integer.parseInt(args[0]));
        connector.setIdleTimeout(1000L * Integer.parseInt(args[2]));
        server.addConnector(connector);
        server.setHandler(new Handler.Abstract() {
            @Override public boolean handle(Request q, Response s, Callback callback) throws Exception {
                byte[] body = Forward.read(Request.getPathInContext(q), Content.Source.asInputStream(q));
                List<String[]> sent = new ArrayList<>();
                for (HttpField f : q.getHeaders()) sent.add(new String[] {f.getName(), f.getValue()});
                if (!q.getHeaders().contains("Host")) sent.add(new String[] {"Host", q.getHttpURI().getAuthority()});
                try (Forward f = new Forward(q.getMethod(), q.getHttpURI().getPathQuery(), sent, body)) {
                    s.setStatus(f.status);
                    for (String[] x : f.fields) s.getHeaders().add(x[0], x[1]);
                    try (OutputStream out = Content.Sink.asOutputStream(s)) {
                        f.body.transferTo(out);
                    }
                }
                callback.succeeded();
                return true;
            }
        });
        server.start();
        server.join();
    }
}
